"""Architectures of transformers, each with a tiny random configuration and an input for it. Nothing is downloaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers


@dataclass(frozen=True)
class Architecture:
    """A class of transformers' own, by its name, and what makes one of it and of its input."""

    model: str
    config: dict[str, Any]
    inputs: Callable[[], dict[str, torch.Tensor]]
    generates: bool = False

    def make(self) -> transformers.PreTrainedModel:
        torch.manual_seed(0)
        model_class = getattr(transformers, self.model)
        return model_class(model_class.config_class(**self.config)).eval()


def text(length: int = 7) -> dict[str, torch.Tensor]:
    return {"input_ids": 3 + torch.arange(length)[None] * 5 % 90}


def to_text() -> dict[str, torch.Tensor]:
    return text() | {"decoder_input_ids": torch.tensor([[2, 5, 9]])}


def image(size: int = 32) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.linspace(-1, 1, 3 * size * size).reshape(1, 3, size, size)}


def image_and_text() -> dict[str, torch.Tensor]:
    return image() | text()


def wave(samples: int = 800) -> dict[str, torch.Tensor]:
    return {"input_values": torch.linspace(-9, 9, samples).sin()[None]}


SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 64,
}
ENDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
GROUPED = SIZES | ENDS | {"num_key_value_heads": 2, "head_dim": 8}
SEQ2SEQ = ENDS | {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 36,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 36,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
PATCHES = SIZES | {"image_size": 32, "patch_size": 8}
SPEECH = SIZES | {
    "conv_dim": (16, 16),
    "conv_stride": (4, 4),
    "conv_kernel": (8, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}
TOWERS = {
    "text_config": SIZES | ENDS,
    "vision_config": PATCHES,
    "projection_dim": 16,
}
RESNET = {"embedding_size": 8, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "model_type": "resnet"}

ARCHITECTURES = {
    # Encoders of text
    "bert": Architecture("BertForMaskedLM", SIZES, text),
    "roberta": Architecture("RobertaForMaskedLM", SIZES, text),
    "distilbert": Architecture(
        "DistilBertForMaskedLM", {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 36}, text
    ),
    "electra": Architecture("ElectraForPreTraining", SIZES | {"embedding_size": 16}, text),
    "albert": Architecture(
        "AlbertForMaskedLM", SIZES | {"embedding_size": 16, "num_hidden_layers": 4, "inner_group_num": 2}, text
    ),
    "deberta_v2": Architecture(
        "DebertaV2ForMaskedLM",
        SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
        text,
    ),
    "funnel": Architecture(
        "FunnelForMaskedLM",
        {"vocab_size": 99, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 36},
        text,
    ),
    "longformer": Architecture("LongformerForMaskedLM", SIZES | {"attention_window": 4}, text),
    "fnet": Architecture("FNetForMaskedLM", SIZES, text),
    "mobilebert": Architecture(
        "MobileBertForMaskedLM",
        SIZES | {"embedding_size": 32, "true_hidden_size": 32, "intra_bottleneck_size": 32},
        text,
    ),
    "convbert": Architecture("ConvBertForMaskedLM", SIZES | {"embedding_size": 32}, text),
    "modernbert": Architecture("ModernBertForMaskedLM", SIZES | ENDS | {"cls_token_id": 3, "sep_token_id": 4}, text),
    # Decoders of text
    "gpt2": Architecture(
        "GPT2LMHeadModel", ENDS | {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}, text, True
    ),
    "gpt_neo": Architecture(
        "GPTNeoForCausalLM",
        ENDS
        | {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 64,
        },
        text,
        True,
    ),
    "gpt_neox": Architecture("GPTNeoXForCausalLM", SIZES | ENDS, text, True),
    "opt": Architecture("OPTForCausalLM", SIZES | ENDS | {"ffn_dim": 36, "word_embed_proj_dim": 16}, text, True),
    "bloom": Architecture(
        "BloomForCausalLM", ENDS | {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}, text, True
    ),
    "xlnet": Architecture(
        "XLNetLMHeadModel",
        ENDS | {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 36},
        text,
        True,
    ),
    "llama": Architecture("LlamaForCausalLM", GROUPED, text, True),
    "mistral": Architecture("MistralForCausalLM", GROUPED | {"sliding_window": 4}, text, True),
    "mixtral": Architecture("MixtralForCausalLM", GROUPED | {"num_local_experts": 4}, text, True),
    "qwen2": Architecture("Qwen2ForCausalLM", GROUPED | {"tie_word_embeddings": True}, text, True),
    "gemma": Architecture("GemmaForCausalLM", GROUPED, text, True),
    "gemma2": Architecture("Gemma2ForCausalLM", GROUPED | {"sliding_window": 4}, text, True),
    "phi": Architecture("PhiForCausalLM", SIZES | ENDS, text, True),
    "falcon": Architecture("FalconForCausalLM", SIZES | ENDS | {"alibi": True}, text, True),
    "deepseek_v3": Architecture(
        "DeepseekV3ForCausalLM",
        SIZES
        | ENDS
        | {
            "moe_intermediate_size": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
        },
        text,
        True,
    ),
    "gpt_oss": Architecture(
        "GptOssForCausalLM", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}, text, True
    ),
    "mamba": Architecture(
        "MambaForCausalLM",
        ENDS | {"vocab_size": 99, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2},
        text,
        True,
    ),
    "rwkv": Architecture(
        "RwkvForCausalLM",
        ENDS | {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 64, "use_cache": False},
        text,
        True,
    ),
    "jamba": Architecture(
        "JambaForCausalLM",
        GROUPED
        | {
            "num_experts": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "use_mamba_kernels": False,
            "mamba_d_state": 4,
        },
        text,
        True,
    ),
    # Text to text
    "t5": Architecture("T5ForConditionalGeneration", T5, to_text, True),
    "switch_transformers": Architecture(
        "SwitchTransformersForConditionalGeneration",
        T5
        | {"num_decoder_layers": 2, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        to_text,
        True,
    ),
    "bart": Architecture("BartForConditionalGeneration", SEQ2SEQ, to_text, True),
    "marian": Architecture("MarianMTModel", SEQ2SEQ, to_text, True),
    "led": Architecture(
        "LEDForConditionalGeneration",
        SEQ2SEQ | {"attention_window": 4, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64},
        to_text,
        True,
    ),
    "encoder_decoder": Architecture(
        "EncoderDecoderModel",
        {
            "encoder": SIZES | {"model_type": "bert"},
            "decoder": SIZES | {"model_type": "bert", "is_decoder": True, "add_cross_attention": True},
            "decoder_start_token_id": 2,
            "pad_token_id": 0,
        },
        to_text,
        True,
    ),
    # Images
    "vit": Architecture("ViTForImageClassification", PATCHES, image),
    "deit": Architecture("DeiTForImageClassificationWithTeacher", PATCHES, image),
    "beit": Architecture("BeitForImageClassification", PATCHES | {"use_relative_position_bias": True}, image),
    "dinov2": Architecture("Dinov2ForImageClassification", PATCHES, image),
    "vit_mae": Architecture(
        "ViTMAEForPreTraining",
        PATCHES
        | {
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 16,
        },
        image,
    ),
    "swin": Architecture("SwinForImageClassification", SWIN, image),
    "swinv2": Architecture("Swinv2ForImageClassification", SWIN, image),
    "convnext": Architecture("ConvNextForImageClassification", STAGES, image),
    "resnet": Architecture("ResNetForImageClassification", RESNET, image),
    "levit": Architecture(
        "LevitForImageClassificationWithTeacher",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        lambda: image(64),
    ),
    "mobilenet_v2": Architecture(
        "MobileNetV2ForImageClassification", {"image_size": 32, "depth_multiplier": 0.25}, image
    ),
    "segformer": Architecture(
        "SegformerForSemanticSegmentation",
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
            "decoder_hidden_size": 16,
        },
        image,
    ),
    "yolos": Architecture(
        "YolosForObjectDetection", PATCHES | {"image_size": [32, 32], "num_detection_tokens": 4}, image
    ),
    "detr": Architecture(
        "DetrForObjectDetection",
        {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "backbone_config": RESNET | {"out_features": ["stage4"]},
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 36,
            "decoder_ffn_dim": 36,
            "num_queries": 4,
        },
        lambda: image(64),
    ),
    # Images and text
    "clip": Architecture("CLIPModel", TOWERS, image_and_text),
    "siglip": Architecture("SiglipModel", TOWERS, image_and_text),
    "blip": Architecture("BlipForConditionalGeneration", TOWERS | {"image_text_hidden_size": 16}, image_and_text, True),
    "vilt": Architecture("ViltForQuestionAnswering", PATCHES, image_and_text),
    "vision_encoder_decoder": Architecture(
        "VisionEncoderDecoderModel",
        {
            "encoder": PATCHES | {"model_type": "vit"},
            "decoder": {"model_type": "gpt2", "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}
            | {"add_cross_attention": True}
            | ENDS,
            "decoder_start_token_id": 2,
            "pad_token_id": 2,
        },
        lambda: image() | {"decoder_input_ids": torch.tensor([[2, 5, 9]])},
        True,
    ),
    # Audio
    "wav2vec2": Architecture("Wav2Vec2ForCTC", SPEECH, wave),
    "hubert": Architecture("HubertForCTC", SPEECH, wave),
    "wavlm": Architecture("WavLMForCTC", SPEECH, wave),
    "whisper": Architecture(
        "WhisperForConditionalGeneration",
        SEQ2SEQ
        | {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 32}
        | {"suppress_tokens": None, "begin_suppress_tokens": None},
        lambda: {
            "input_features": torch.linspace(-9, 9, 8 * 40).sin().reshape(1, 8, 40),
            "decoder_input_ids": torch.tensor([[2, 5, 9]]),
        },
        True,
    ),
    "audio_spectrogram_transformer": Architecture(
        "ASTForAudioClassification",
        PATCHES | {"num_mel_bins": 16, "max_length": 32},
        lambda: {"input_values": torch.linspace(-9, 9, 32 * 16).sin().reshape(1, 32, 16)},
    ),
    "encodec": Architecture(
        "EncodecModel",
        {"num_filters": 4, "hidden_size": 8, "codebook_size": 16, "codebook_dim": 8, "upsampling_ratios": [4, 2]},
        lambda: {"input_values": torch.linspace(-9, 9, 480).sin().reshape(1, 1, 480)},
    ),
    "vits": Architecture(
        "VitsModel",
        {
            "vocab_size": 99,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 16,
            "flow_size": 16,
            "spectrogram_bins": 9,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 4],
            "upsample_kernel_sizes": [8, 8],
            "prior_encoder_num_wavenet_layers": 1,
            "posterior_encoder_num_wavenet_layers": 1,
        },
        text,
    ),
    # Time series, and behaviour
    "patchtst": Architecture(
        "PatchTSTForPrediction",
        {"num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4}
        | {"d_model": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16},
        lambda: {"past_values": torch.linspace(-9, 9, 32).sin().reshape(1, 16, 2)},
    ),
}
