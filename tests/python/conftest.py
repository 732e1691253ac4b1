"""Makes torchvision importable: a build for another torch lacks two compiled operators, which its models do not use."""

import torch

TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
