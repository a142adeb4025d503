"""Reports: tables, plots and pages about a run or an evaluation."""
