"""The training step of the two DeepLab-v2 networks in plain PyTorch, for `--torch-python` of `train_step.py` and, with
an online teacher (DACS), of `teacher_step.py`.

Runs in an environment of its own that needs PyTorch alone. It builds the network, with the layers, strides, dilations
and head of `models/`, says what it built, and makes a turn of steps of a variant whenever it is asked for one:

    <- {"parameters": 2062220, "logits": [4, 19, 8, 16], "torch": "2.14.1", "layout": "channels last",
        "modes": ["eager", "compiled"]}
    -> eager
    <- [0.1234, 0.2345]                                 (seconds per step, on the clock and of the processor)
"""

import argparse
import copy
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

IGNORE = 255
CONFIDENT, DECAY = 0.968, 0.999  # of DACS: a teacher's sure pixel, and what remains of the teacher in a step
# (expansion, channels, blocks, stride): MobileNetV2 1.0 (CVPR 2018, table 2), up to its last bottleneck
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# (channels of the 3x3 convolution, blocks, stride): ResNet-50 (CVPR 2016, table 1)
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class Residual(nn.Module):
    """The sum of two branches, with an activation behind it."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, activation: nn.Module):
        super().__init__()
        self.branch, self.shortcut, self.activation = branch, shortcut, activation

    def forward(self, x):
        return self.activation(self.branch(x) + self.shortcut(x))


class Normalised(nn.Module):
    """Images in [0, 255] as the backbone wants them: RGB in [-1, 1], or BGR minus the ImageNet mean."""

    def __init__(self, mean: tuple[float, float, float], scale: float, reverse: bool):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.scale, self.reverse = scale, reverse

    def forward(self, image):
        return ((image.flip(1) if self.reverse else image) - self.mean) * self.scale


class DeepLabV2(nn.Module):
    """A backbone and the sum of four dilated 3x3 convolutions."""

    def __init__(self, backbone: nn.Module, channels: int, classes: int, dilations: tuple[int, ...]):
        super().__init__()
        self.backbone = backbone
        self.head = nn.ModuleList(nn.Conv2d(channels, classes, 3, padding=d, dilation=d) for d in dilations)

    def forward(self, image):
        features = self.backbone(image)
        return sum(branch(features) for branch in self.head)


def convolution(inputs, outputs, kernel=1, stride=1, dilation=1, *, groups=1, bias=False, epsilon, relu=None):
    """Convolution, batch-norm and, if given, an activation."""
    padding = dilation * (kernel // 2)
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias),
        nn.BatchNorm2d(outputs, eps=epsilon, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([relu(inplace=True)] if relu else []))


def mobilenet_v2(classes: int) -> nn.Module:
    """At output stride 16: the last halving is left out, and what lies behind it dilated by 2."""

    def bottleneck(inputs, outputs, expansion, stride, dilation):
        wide, common = inputs * expansion, {"epsilon": 1e-3}
        expanded = [convolution(inputs, wide, relu=nn.ReLU6, **common)] if expansion > 1 else []
        branch = nn.Sequential(
            *expanded,
            convolution(wide, wide, 3, stride, dilation, groups=wide, relu=nn.ReLU6, **common),
            convolution(wide, outputs, **common),
        )
        same = stride == 1 and inputs == outputs
        return Residual(branch, nn.Identity(), nn.Identity()) if same else branch

    layers = [Normalised((127.5,) * 3, 1 / 127.5, reverse=False)]
    layers.append(convolution(3, 32, 3, 2, epsilon=1e-3, relu=nn.ReLU6))
    channels, total, dilation = 32, 2, 1
    for expansion, outputs, blocks, first_stride in BOTTLENECKS:
        for block in range(blocks):
            stride, opens = (first_stride, first_stride == 2 and total == 16) if block == 0 else (1, False)
            layers.append(bottleneck(channels, outputs, expansion, 1 if opens else stride, dilation))
            channels, total, dilation = outputs, total * (1 if opens else stride), 2 if opens else dilation
    return DeepLabV2(nn.Sequential(*layers), channels, classes, (3, 6, 9, 12))


def resnet50(classes: int) -> nn.Module:
    """At output stride 8: the last two stages keep their map and are dilated by 2 and 4."""
    common = {"bias": True, "epsilon": 1.001e-5}

    def bottleneck(inputs, width, stride, dilation):
        branch = nn.Sequential(
            convolution(inputs, width, 1, stride, relu=nn.ReLU, **common),
            convolution(width, width, 3, 1, dilation, relu=nn.ReLU, **common),
            convolution(width, 4 * width, **common),
        )
        same = inputs == 4 * width
        shortcut = nn.Identity() if same else convolution(inputs, 4 * width, 1, stride, **common)
        return Residual(branch, shortcut, nn.ReLU(inplace=True))

    layers = [Normalised((103.939, 116.779, 123.68), 1.0, reverse=True)]
    layers += [convolution(3, 64, 7, 2, relu=nn.ReLU, **common), nn.MaxPool2d(3, 2, 1)]
    channels, total, dilation = 64, 4, 1
    for width, blocks, first_stride in STAGES:
        dilation *= 2 if first_stride * total > 8 else 1
        for block in range(blocks):
            stride = first_stride if block == 0 and first_stride * total <= 8 else 1
            layers.append(bottleneck(channels, width, stride, dilation))
            channels, total = 4 * width, total * stride
    return DeepLabV2(nn.Sequential(*layers), channels, classes, (6, 12, 18, 24))


NETWORKS = {"deeplab_v2_mobilenet_v2": mobilenet_v2, "deeplab_v2_resnet50": resnet50}


class Step:
    """Forward, cross-entropy on the thinned label, backward, clipping and AdamW; fused where PyTorch can."""

    def __init__(self, network: nn.Module, options, layout: str, compiled: bool):
        self.network = network.to(memory_format=LAYOUTS[layout]).train()
        height, width = options.size
        image = 255 * torch.rand(options.batch, 3, height, width)
        self.image = image.contiguous(memory_format=LAYOUTS[layout])
        thin = slice(options.loss_stride // 2, None, options.loss_stride)
        self.whole_label = torch.randint(0, options.classes, (options.batch, height, width))
        self.thin, self.label = thin, self.whole_label[:, thin, thin].contiguous()
        self.loss = torch.compile(self.losses) if compiled else self.losses
        plain = [value for value in network.parameters() if value.ndim == 1]
        decayed = [value for value in network.parameters() if value.ndim > 1]
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
        self.clip_norm = options.clip_norm

    def enlarged(self, network, image):
        """Logits on the grid of the loss."""
        size = self.label.shape[1:]
        return functional.interpolate(network(image), size=size, mode="bilinear", align_corners=False)

    def losses(self):
        logits = self.enlarged(self.network, self.image)
        return functional.cross_entropy(logits, self.label, ignore_index=IGNORE)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.optimizer.step()

    def turn(self, steps: int) -> tuple[float, float]:
        """Seconds a step over `steps` of them, on the clock and of the processor."""
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self()
        return (time.perf_counter() - clock) / steps, (time.process_time() - processor) / steps


class OnlineStep(Step):
    """DACS, colours kept: the teacher moves and labels the target, which is mixed; two passes of the student."""

    def __init__(self, network: nn.Module, options, layout: str, compiled: bool):
        super().__init__(network, options, layout, compiled)
        self.teacher = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.target = (255 * torch.rand_like(self.image)).contiguous(memory_format=LAYOUTS[layout])
        values = lambda module: [value for value in module.state_dict().values() if value.is_floating_point()]  # noqa: E731
        self.moved, self.towards = values(self.teacher), values(self.network)

    def __call__(self) -> None:
        torch._foreach_lerp_(self.moved, self.towards, 1 - DECAY)
        super().__call__()

    def losses(self):
        image, label, weight = self.mixed()
        source = super().losses()
        logits = self.enlarged(self.network, image)
        each = functional.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
        return source + (weight * each).mean()

    @torch.no_grad()
    def mixed(self):
        """Image, label and weight: half of the classes of each source image, pasted into the labelled target."""
        confidence, label = self.enlarged(self.teacher, self.target).softmax(1).max(1)
        weight = (confidence >= CONFIDENT).float().mean((1, 2), keepdim=True).expand_as(confidence)
        mask = self.mask()
        thin = mask[:, self.thin, self.thin]
        image = torch.where(mask[:, None], self.image, self.target)
        return image, torch.where(thin, self.label, label), torch.where(thin, 1.0, weight)

    def mask(self):
        """Where the source is pasted: bool [batch, height, width]."""
        pixels = self.whole_label.flatten(1)
        present = torch.zeros(len(pixels), IGNORE).scatter_(1, pixels, 1.0)
        rank = torch.where(present > 0, torch.rand(present.shape), 2.0).argsort(1).argsort(1)
        chosen = rank < (present.sum(1, keepdim=True) / 2).ceil()
        return chosen.gather(1, pixels).view_as(self.whole_label)


LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


def faster_layout(kind: type[Step], options) -> str:
    """The memory layout in which an eager step is faster here, in the best of three turns each, taken alternately.

    A compiled one begins with the same; between its operators the compiler chooses.
    """
    steps = {name: kind(NETWORKS[options.network](options.classes), options, name, False) for name in LAYOUTS}
    times = [{name: step.turn(1)[1] for name, step in steps.items()} for _ in range(4)][1:]
    return min(LAYOUTS, key=lambda name: min(turn[name] for turn in times))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--online", action="store_true", help="the step of an online teacher")
    parser.add_argument("--size", type=int, nargs=2, required=True)
    for name in ("batch", "classes", "loss_stride", "steps", "threads"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, required=True)
    for name in ("learning_rate", "weight_decay", "clip_norm"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Compiled, the three passes of an online step take minutes to get ready, and a single pass is no faster.
    kind, modes = (OnlineStep, {"eager": False}) if options.online else (Step, {"eager": False, "compiled": True})
    layout = faster_layout(kind, options)
    steps = {
        mode: kind(NETWORKS[options.network](options.classes), options, layout, compiled)
        for mode, compiled in modes.items()
    }
    for step in steps.values():
        step.turn(2)  # compilation
    network = steps["eager"].network
    values = [*network.parameters(), *(value for name, value in network.named_buffers() if "running" in name)]
    about = {
        "parameters": sum(value.numel() for value in values),
        "logits": list(network(steps["eager"].image).shape),
        "torch": torch.__version__,
        "layout": layout,
        "modes": list(modes),
    }
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(steps[line.strip()].turn(options.steps)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
