"""The completion of a job: webhook events, purging of inputs, deadlines."""
