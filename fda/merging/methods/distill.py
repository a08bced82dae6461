"""Layer-wise distillation as a merging method: adapt on real block inputs. The work itself is in `fda.anchors.adapt`.

After ProDistill (Xu et al. 2025), which trains element-wise coefficients and feeds each merged block what the merged blocks
before it gave. Here, so that only the data differs from FDA, it is FDA's adaptation: weights, from the pretrained ones, each
block by itself on the inputs it has in the finetuned models.
"""

from fda.merging.method import Hyperparameter, Method

distill = Method(
    name="distill",
    title="Layer-wise distillation",
    idea=(
        "Train each block on real block inputs until it answers as the finetuned blocks do: the upper bound that FDA "
        "strives for without data."
    ),
    paper="https://arxiv.org/abs/2502.12706",
    year=2025,
    needs="inputs",
    start="pretrained",
    hyperparameters=(
        Hyperparameter(
            name="examples",
            type=int,
            default=256,
            help="inputs a task",
            low=1,
            high=None,
            source="ours: as many as RegMean and Fisher merging read",
        ),
    ),
)
