"""Layer-wise distillation as a merging method: adapt on real block inputs. `fda.anchors.adapt` does the work.

After ProDistill (Xu et al. 2025), which trains element-wise coefficients and feeds each merged block the outputs of the
merged blocks before it. Here it is FDA's adaptation, so that only the data differs from FDA: it trains the weights, from the
pretrained ones, each block separately on its inputs in the finetuned models.
"""

from fda.merging.method import Hyperparameter, Method

distill = Method(
    name="distill",
    title="Layer-wise distillation",
    idea=(
        "Train each block on real block inputs to give the outputs of the finetuned blocks: the upper bound that FDA "
        "approaches without data."
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
            help="inputs per task",
            low=1,
            high=None,
            source="ours: as many as RegMean and Fisher merging read",
        ),
    ),
)
