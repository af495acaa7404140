"""From the branches' outputs to one network: weigh, combine, calibrate, evaluate, predict, export."""
