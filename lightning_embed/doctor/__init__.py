"""The doctor: what a configuration and its data come to, told before anything is trained."""
