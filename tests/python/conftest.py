"""One thread (tiny models gain nothing from more), no network, a torchvision that imports, and the mark cuda.

A torchvision made for another build of torch lacks two compiled operators, which its models do not use.
"""

import os

import pytest
import torch

torch.set_num_threads(1)
os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def pytest_runtest_setup(item):
    wanted = item.get_closest_marker("cuda") and os.environ.get("FAIL_WITHOUT_CUDA") != "1"
    if wanted and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
