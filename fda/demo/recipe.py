"""The demo zoo's hyperparameters: the model's shape, pretraining, finetuning and adaptation."""

MODEL_CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "width": 128,
            "head_width": 32,
            "layers": 4,
            "mlp_ratio": 4.0,
        },
        # Unused, but open_clip's CLIP requires one; as small as it allows.
        "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"},
}
LOGIT_SCALE = 20.0

PRETRAIN_EPOCHS = 13
PRETRAIN_LR = 1e-3
PRETRAIN_WEIGHT_DECAY = 0.05
OWN_SHARE = 0.03  # of each task's training split, used in pretraining
OWN_REPEATS = 4  # times an epoch, since there are few of them

FINETUNE_EPOCHS = 32
FINETUNE_LR = 5e-4
FINETUNE_WEIGHT_DECAY = 0.0  # decay would add a part to the task vectors that comes from no gradient

BATCH = 64

# Adaptation on anchors; the paper's learning rates suit a CLIP that is a hundred times larger.
ADAPT = {"weights_lr": 1e-3, "weights_epochs": 25, "coefficients_lr": 0.1, "coefficients_epochs": 25, "batch": 32}
