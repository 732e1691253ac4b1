"""One thread (tiny models gain nothing from more), and a torchvision that imports.

A torchvision made for another build of torch lacks two compiled operators, which its models do not use.
"""

import torch

torch.set_num_threads(1)

TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
