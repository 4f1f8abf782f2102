"""Auto-encoders: networks that parametrise p(x | z) and q(z | x), and their training."""

from skelbo.neural.code_attributes import CodeAttributes
from skelbo.neural.code_inference import CodeInference
from skelbo.neural.critic_file import game_fields, restored_critic
from skelbo.neural.data.columns import Columns
from skelbo.neural.data.datasets import DatasetTable
from skelbo.neural.estimator import NetworkEstimator
from skelbo.neural.game import FinishedGame, play
from skelbo.neural.log_marginal import ImportanceWarning, WeightedDraws
from skelbo.neural.model.code_objective import CodeObjective
from skelbo.neural.model.codes import CodeFamily
from skelbo.neural.model.diagonal_gaussian import GaussianFamily
from skelbo.neural.model.divergences import DIVERGENCES
from skelbo.neural.model.encoder_objective import EncoderObjective
from skelbo.neural.model.latent_family import LatentFamily, LatentPosterior
from skelbo.neural.model.networks import ACTIVATIONS
from skelbo.neural.model.objectives import Objective
from skelbo.neural.model.point import PointFamily
from skelbo.neural.persistence import module_state
from skelbo.neural.refinement import Refinement, refine
from skelbo.neural.training.codebook import DeadCodes, decay_of, start_codebook
from skelbo.neural.training.factor_start import start_at_factors
from skelbo.neural.training.generators import draw_seed, make_generator

__all__ = [
    "ACTIVATIONS",
    "DIVERGENCES",
    "CodeAttributes",
    "CodeFamily",
    "CodeInference",
    "CodeObjective",
    "Columns",
    "DatasetTable",
    "DeadCodes",
    "EncoderObjective",
    "FinishedGame",
    "GaussianFamily",
    "ImportanceWarning",
    "LatentFamily",
    "LatentPosterior",
    "NetworkEstimator",
    "Objective",
    "PointFamily",
    "Refinement",
    "WeightedDraws",
    "decay_of",
    "draw_seed",
    "game_fields",
    "make_generator",
    "module_state",
    "play",
    "refine",
    "restored_critic",
    "start_at_factors",
    "start_codebook",
]
