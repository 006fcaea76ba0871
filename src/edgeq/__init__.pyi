# The types of what `import edgeq` gives. Each is imported when it is first asked for, which a
# checker cannot see.

from edgeq.deploy.user_model import compare as compare
from edgeq.deploy.user_model import export as export
from edgeq.exporter import ExportOptions as ExportOptions
from edgeq.training.distributed_stats import sync_statistics as sync_statistics
from edgeq.training.kept_function import quantize as quantize
from edgeq.training.optimization.post_optimizer import post_optimizer_step as post_optimizer_step
from edgeq.training.qat_transform import set_bits as set_bits
from edgeq.training.recipes.scheme import Scheme as Scheme

__version__: str
