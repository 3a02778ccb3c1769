"""Skills: folders with a SKILL.md, which a model reads when a task needs them."""

from agentkit.skills.format import Skill as Skill
from agentkit.skills.tools import Skills as Skills
