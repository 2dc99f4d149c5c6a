"""What names usually mean in PyTorch code. A name is weak evidence: it decides only where nothing better is known."""

from __future__ import annotations

import re

ONE_TENSOR = re.compile(r"(?:(?:typing\.)?Optional\[)?[\"']?(?:\w+\.)*\w*Tensor[\"']?\]?(?:\s*\|\s*None)?")
"""An annotation of a tensor, or of one that may be missing."""

ARRAY = re.compile(r"^[\"']?(?:(?:np|numpy)\.)?ndarray\b|^[\"']?(?:\w+\.)*NDArray\b")
"""An annotation of arrays of numpy, which are never on the graph."""

MODULE = re.compile(
    r"(?:^|[._])(?:module|encoder|decoder|backbone|classifier|unet|vae|transformer|teacher|student"
    r"|target_net|value_net|policy_net|netG|netD|net_?[gd]|ema_model|[A-Za-z]*Net|[A-Za-z]*Model"
    r"|(?:model|net|network|critic|actor|generator|discriminator|policy|q_?net(?:work)?)_?[0-9]?"
    r"(?:_(?:old|target|local|online|ema|lagged|frozen|teacher))?)$",
)
"""The last part of a path that names a module; several of a kind are numbered, copies say what they are for."""

_VERB = re.compile(
    r"^_*(?:set|get|make|build|create|load|init|prepare|update|save|is|has|wrap|unwrap|compute|check|use|run|eval|evaluate"
    r"|train|fit|finetune|test|valid|validate|predict|infer|score|export|convert|compile|freeze|unfreeze|copy|clone|apply"
    r"|register|reset|print|log|optimize|quantize|prune|profile|benchmark|select|choose|call|process|define|construct"
    r"|setup|configure|find|add|remove|delete|fuse|merge|move|split|download|fetch|restore|parse|visualize|plot)_"
)


MODULES = re.compile(
    r"(?:^|[._])(?:models|nets|networks|encoders|decoders|generators|discriminators|critics|actors|policies|backbones"
    r"|classifiers|teachers|students|q_?nets|[A-Za-z]+_?(?:models|nets))$"
)
"""The last part of a path that names several modules: a list, or a mapping."""


def is_module(path: str) -> bool:
    """Whether the last part of ``path`` names a module rather than a function that deals with one.

    So does that of an item, ``models[...]``, and of what an item is part of; ``model[0].predict_proba`` is a method.
    """
    whole, bracket, rest = path.partition("[")
    part = rest.rpartition("]")[2].rpartition(".")[2]
    if part and _VERB.match(f"{part}_"):
        return False
    if bracket and (MODULES.search(whole) if rest.endswith("]") else is_module(rest.rpartition("]")[2])):
        return True
    return MODULE.search(whole) is not None and _VERB.match(whole.rpartition(".")[2]) is None


_CLASS = re.compile(r"^[A-Z]\w*[a-z]\w*$")


def is_class(path: str) -> bool:
    """Whether a variable is called like a class (``Model``): calling it makes something."""
    return _CLASS.search(path) is not None


OPTIMIZER = re.compile(
    r"(?:^|[._])(?:\w*optim(?:izer)?s?(?:_?\w{1,12})?|opt|opt_?\w{1,3}|\w+_opt|\w+Opt)$", re.IGNORECASE
)
"""The last part of a path that names an optimizer."""

ENGINE = re.compile(r"(?:^|[._])\w*engine$", re.IGNORECASE)
"""Names of what wraps model and optimizer, and clears the gradients itself."""

CLEARS = re.compile(r"(?:zero|clear|reset|null)\w*grad", re.IGNORECASE)
"""Names of functions that clear gradients."""

RESCALES = re.compile(r"unscale|clip|scale_loss", re.IGNORECASE)
"""Names of functions that change the size of gradients, and neither fill nor clear them."""

KEEPS_GRADIENTS = re.compile(
    r"sched|warm_?up|adjust|learning_rate|(?:^|_)lr(?:_|$)|save|load|log|print|check|^get|param_group|state_dict|register",
    re.IGNORECASE,
)
"""Names of functions that get an optimizer and leave its gradients alone."""

PADDING_INDEX = re.compile(r"(?:^|[._])pad(?:ding)?_(?:token_)?(?:idx|index|id)$")
"""Names of the one row of an embedding that stands for nothing."""

SCHEDULER = re.compile(r"sched", re.IGNORECASE)

LOSS = re.compile(r"(?:^|[._])(?:\w*(?:loss|criterion|objective)\w*|crit|bce|mse|nll)$", re.IGNORECASE)

EVALUATION = re.compile(
    r"^_*(?:eval(?:uate|uation)?|valid(?:ate|ation)?|val|test|predict(?:ion)?|infer(?:ence)?)(?:_(?:epoch|step|loop|model|net|network"
    r"|batch|one_epoch|dataset|loader|data|accuracy|metrics|loss|set|once|all|fn|imgs?|images?|nets?|proba|classes|labels?))?$"
    r"|^_*(?:eval(?:uate|uation)?|validat(?:e|ion)|predict|infer(?:ence)?)_\w+$"
    r"|^(?:compute|calc(?:ulate)?|get|measure|check)_(?:val_|test_|valid_)?(?:acc|metrics?|fid|bleu|map|auc)$"
    r"|^_*(?:\w+_)?(?:accuracy|perplexity)$"
)
"""Names of functions that evaluate or predict."""

MEASURES = re.compile(r"^_*(?:eval|valid|test)(?:uat|at)?(?:e|ion)?(?:_|$)")
"""Names of functions whose results nobody trains on, not even a function that trains: how well a model does."""

EVALUATION_WORD = re.compile(
    r"(?:^|_)(?:val|valid|test|eval|validat\w*|evaluat\w*|infer\w*|predict\w*)(?:_|$)", re.IGNORECASE
)
"""A word in a name that says that it has to do with evaluation."""

INFERENCE = re.compile(r"(?:^|_)infer(?:ence)?(?:_|$)")
"""Names of functions that only ever run without a backward."""

INFERS = re.compile(r"^_*(?:infer|inference(?:_\w+)?|\w+_inference|synthesi[sz]e)$")
"""Names of methods that a module has for inference, beside the ``forward`` that it is trained through."""

MAY_INFER = re.compile(r"predict|infer|generat|sampl|eval|valid|encod|decod|translat|act|score|logits|loss")
"""Names of methods of something unknown that may infer: of these it matters what becomes of their results."""

GUARDED_BY_CALLERS = re.compile(r"^_*(?:infer|synthesi[sz]e)$")
"""Of these, names of methods that scripts mostly call with gradients off."""

DECODES = re.compile(
    r"^_*(?:generate|sample|translate|transcribe|caption|recommend|retrieve|decode|complete|search)(?:_\w+)?$"
    r"|^_*(?:\w+_)?(?:greedy|beam)_?(?:search|decod\w*|sampl\w*|generat\w*)?(?:_\w+)?$|^_*\w+_(?:decode|generate|search|sample)$"
)
"""Names of functions that turn what a model says into tokens, items or images."""

PART = re.compile(
    r"^(?:Encoder|Decoder|\w*(?:Layer|Block|Attention|Cell|Embedding|Head|Prenet|Postnet|Predictor|Flow|Flows|Conv\w*|Norm"
    r"|RNN|LSTM|GRU|Quantizer|Codebook|Scheduler|Loss))$"
)
"""Names of classes of modules that are a part of a model, whose methods are called by those of the model."""

MODEL_CLASS = re.compile(r"(?:^|\.)\w*(?:Model|Net|Network|Generator|Vocoder|Transformer|Classifier|Tacotron\d?)$")
"""Names of classes that are whole models."""

VARIATIONAL = re.compile(
    r"(?:^|[a-z_])(?:AE|Variational|Bayes\w*|Posterior|Flow|HMM|GP)(?![a-z])|VAE(?![a-z])|^Bayes|^Variational|^Posterior"
)
"""Names of classes whose inference is that of a posterior, which is trained."""

TRAINS = re.compile(r"(?:^|_)(?:train(?:ing)?|fit|learn|optimi[sz]e|update|finetune|backward|closure)(?:_|$)")
"""Names of functions that train, or compute what is trained."""

EVALUATION_DATA = re.compile(
    r"(?:^|[._])(?:\w*_)?(?:val|valid|validation|test|eval|dev)_?(?:data)?_?(?:loader|iter|dl|set|dataset|batches)\w*$"
)
"""Names of what an evaluation loops over."""
EVALUATION_INPUT = re.compile(
    r"(?:^|[._])(?:[xX]_?(?:test|val|valid)|(?:test|val|valid|validation)_?(?:[xX]|inputs?|images?|imgs?|features?|data))"
    r"(?:\[[^\]]*\]|\.(?:to|cuda|cpu|float|double)(?:\((?:\.\.\.)?\))?)*$"
)
"""Names of what a module is given in an evaluation, where it is trained with something else."""

DIFFERENTIATES = re.compile(
    r"^(?!_*(?:report|log|record|print|write|plot|save|display)_)"
    r"(?:.*backward|(?:.*_)?(?:step|train|fit|learn|optimi[sz]e|minimi[sz]e|closure|grads?|gradients?|jacobian|hessian"
    r"|attack|saliency|attribut\w*|explain|perturb|reinforce)(?:_|$)|.*scaler$)",
    re.IGNORECASE,
)
"""Last names of functions out of sight that may go backward from the loss they are given."""

SEEKS_GRADIENT = re.compile(
    r"grad|saliency|attack|advers|attribut|explain|interpret|jacob|hess|influence|perturb|inver[ts]|dream|sensitiv"
    r"|penalty|regulari",
    re.IGNORECASE,
)
"""Names of functions and classes whose forwards may be differentiated by whoever calls them."""

IS_ABOUT_TRAINING = re.compile(r"optimi|train|fit|learn|tune", re.IGNORECASE)
"""Names of functions for which that holds as well; a class of such a name has methods that evaluate, too."""

EXPLAINS = re.compile(
    r"gradient|grad_|_grad|saliency|attack|advers|attribution|explain|jacobian|hessian|influence|perturb", re.IGNORECASE
)
"""Names of functions and classes in which even a forward for evaluation may need the graph."""

INITIALISES = re.compile(r"^_*(?:init|initiali[sz]e|reset)_(?:\w+_)?(?:weight|param)", re.IGNORECASE)
"""Names of functions that give weights their first values."""

INFERRER = re.compile(
    r"(?:Evaluator|Predictor|Inference\w*|Infer(?:r|enc)er|Tester|Validator|Translator|Transcriber|Synthesi[sz]er|Captioner"
    r"|Recogni[sz]er|Extractor|Embedder|Visuali[sz]er)$"
)
"""Names of classes that are no modules and put one to use."""

PRODUCES = re.compile(
    r"predict|infer|val|eval|test|sampl|generat|extract|embed|encod|decod|feature|scor|classif|detect|segment|translat|caption"
    r"|transcri|rollout|reconstruct|forecast|retriev|rank|accura|metric|output|logits|demo|collect|main|visuali",
    re.IGNORECASE,
)
"""Names of functions whose results are looked at, not minimised."""

RUNS_LAYERS = re.compile(
    r"^(?:forward_\w+|\w+_forward|extract_\w*features?|get_\w*features?|encode_(?:images?|texts?|audios?|videos?)"
    r"|(?:\w+_)?log_probs?|posterior|evaluate_actions|get_(?:values?|q_values?|logits|(?:hidden|encoder|decoder)_states?)"
    r"|(?:train(?:ing)?|val(?:idation)?|test|eval(?:uation)?|predict(?:ion)?|inference)_step)$"
)
"""Names of methods of modules that run some of their layers, and leave the gradient mode alone.

A plain ``encode`` is none: that of a language model makes tokens of words."""

FOREIGN = frozenset("tensorflow mxnet jax flax paddle keras mindspore tinygrad".split())
"""Frameworks whose models are called as torch's are."""

CALLED_ELSEWHERE = re.compile(r"(?:^|[._])(?:tf|keras|flax|jax|paddle|onnx|ort|trt)_\w+$")
"""Names of models of other frameworks, where there is one of torch as well: ``tf_model``."""

MADE_ELSEWHERE = re.compile(r"^(?:tf|tensorflow|keras|jax|jnp|flax|paddle|mx|mxnet|mindspore|ms)\.")
"""What calls of other frameworks begin with, by the names that they are imported by."""

REPORTS = re.compile(
    r"print|log|write|scalar|metric|meter|report|record|progress|bar|display|plot|show|save|dump|wandb|track|accura"
    r"|score|eval|hook|callback",
    re.IGNORECASE,
)
"""Names of functions that look at a result and keep no graph that anybody walks."""

SHOWS = re.compile(
    r"(?:^|[._])(?:\w*(?:metrics?|meters?|evaluator)(?:\[[^\]]*\])?\.(?:add|update|accumulate|process|append)\w*"
    r"|add_(?:image|scalar|histogram|figure|video|audio)s?|save_(?:images?|audio|video|figure)|imsave|imshow|imwrite"
    r"|(?:wandb|logger|mlflow)\.log\w*|log_(?:images?|scalar|metrics?|figure|audio|video)s?|write_(?:image|video|wav)s?)$",
    re.IGNORECASE,
)
"""Calls that write a result down, or count it in, for somebody to look at."""

METER = re.compile(r"meter|metric|average|avg|running|tracker|statistic|accumulator|counter|history", re.IGNORECASE)
"""Names of what adds up numbers to report them."""

FIGURES = re.compile(r"(?:^|_)(?:stats|statistics|metrics|counts|infos|logs|logging_outputs?)$")
"""Names of several figures in one object, which is no tensor."""

TEXTS = re.compile(r"(?:^|_)(?:txt|text|transcript|transcription|sentence|caption|hypothesis|hypotheses|string)s?$")
"""Names of text that a model was made to write."""

GROUP = re.compile(r"(?:^|_)(?:batch(?:es)?_)?(?:group|chunk|micro_?batches|minibatches|accumulated)$", re.IGNORECASE)
"""Names of the few batches of one step."""

TRAINER = re.compile(r"(?:^|[._])\w*trainer$", re.IGNORECASE)
"""Names of what goes backward and makes steps itself, and returns figures."""

REMEMBERS = re.compile(
    r"(?:^|[._])(?:(?:early_?)?stop(?:ping)?|convergence|termination)_(?:criterion|criteria|condition|rule|checker|monitor)$"
)
"""Names of what is shown a value in every step, and compares it with those of earlier steps."""

CLOSURE = re.compile(r"(?:^|[._])\w*closure$")
"""Names of functions that clear the gradients, compute a loss, go backward from it, and return it."""

ACTS = re.compile(
    r"^_*(?:(?:select|choose|get|take|sample|pick)_(?:greedy_)?actions?|act|explore|play|(?:(?:collect|generate)_)?rollouts?)$"
)
"""Names of functions that let a policy act."""

GUARDS = re.compile(r"grad|infer|eval|guard|(?:^|[._])(?:ctx|cm)$|context(?:\(|$)", re.IGNORECASE)
"""Names of context managers and decorators that may turn gradients off."""

CASTS = re.compile(r"autocast|amp|precision|profil|time", re.IGNORECASE)
"""Names of context managers that surely leave the gradient mode alone."""

PIPELINE = re.compile(r"(?:^|\.)\w*Pipeline$")
"""Names of classes that put trained models together for inference: the base classes of diffusers and its kin."""

COMPILED = re.compile(r"onnx|openvino|tensorrt|(?:^|_)trt|coreml|flax", re.IGNORECASE)
"""Names of functions and classes whose models run outside of torch, and record nothing."""

DATA = re.compile(r"(?:loader|dataset|batches|data_iter|dataloader)s?$", re.IGNORECASE)
"""Names of what a training or an evaluation loops over."""


def infers(name: str) -> bool:
    """Whether a function is called like one for evaluation or inference."""
    return any(pattern.search(name) for pattern in (EVALUATION, ACTS, INFERS, DECODES))


INPUTS = re.compile(
    r"^(?:x|xb|y|yb|inputs?|images?|imgs?|data|batch_x|batch_y|labels?|targets?|samples?|tokens?|gt|ground_truth"
    r"|(?:real|train|batch|input|target)_(?:x|y|inputs?|images?|imgs?|data|labels?|targets?|batch))$"
)
"""Names of what a training loop takes from its data."""
TOKENS = re.compile(r"(?:^|[._])(?:\w+_)?(?:tokens?|ids)\d*$")
"""Names of the integers that a language model reads and says."""
