"""Lightning callbacks: what happens around the steps."""
