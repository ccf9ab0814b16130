"""What is said while runs are made."""

from benchmarks.runs.progress import epoch_text
from benchmarks.tasks import IMAGES


def test_an_epoch_is_a_short_line_whatever_the_loss():
    entry = {"epoch": 3, "train_loss": 0.27681, "train_error": 9.954, "val_error": 10.1}
    entry |= {"seconds": 1.52}
    told = "epoch 3/24  loss 0.2768  train 9.95 %  validation 10.10 %  1.5 s"
    assert epoch_text(entry, 24, IMAGES) == told
    assert "loss 1.235e+30  " in epoch_text(entry | {"train_loss": 1.23456e30}, 24, IMAGES)
