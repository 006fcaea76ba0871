# The types of what `import edgeq` gives. Each is imported when it is first asked for, which a
# checker cannot see.

from edgeq.calibration.config import CalibrationConfig as CalibrationConfig
from edgeq.deploy.api.exporting import export as export
from edgeq.deploy.api.files import bounds as bounds
from edgeq.deploy.api.files import calibrate as calibrate
from edgeq.deploy.api.files import diff as diff
from edgeq.deploy.api.files import lint as lint
from edgeq.deploy.api.files import load_data as load_data
from edgeq.deploy.api.files import targets as targets
from edgeq.deploy.api.runs import audit as audit
from edgeq.deploy.api.runs import compare as compare
from edgeq.deploy.api.runs import emulate as emulate
from edgeq.deploy.api.runs import gate as gate
from edgeq.deploy.api.runs import profile as profile
from edgeq.deploy.api.runs import survey as survey
from edgeq.deploy.api.runs import why as why
from edgeq.deploy.api.searching import search as search
from edgeq.exporter import ExportOptions as ExportOptions
from edgeq.training.distributed_stats import sync_statistics as sync_statistics
from edgeq.training.kept_function import quantize as quantize
from edgeq.training.optimization.post_optimizer import post_optimizer_step as post_optimizer_step
from edgeq.training.qat_transform import set_bits as set_bits
from edgeq.training.recipes.scheme import Scheme as Scheme

__version__: str
