"""Writes a plan into the repository that it was made for."""

from __future__ import annotations

from pathlib import Path

from bgem3_export.batching.library import install_library
from bgem3_export.errors import CompilerError
from bgem3_export.planning.plan import Plan
from bgem3_export.publishing import exclusive
from bgem3_export.trunk_config import Profile, TrunkConfig


def apply_plan(plan: Plan, repository: Path, profile: Profile) -> list[str]:
    """Write the settings of the trunk's configuration, and put the batching library beside it.

    The manifest holds no configuration and stays true. Another export into the repository writes
    the configurations anew.

    Returns:
        What was done, and what is left to do, in sentences.

    Raises:
        RepositoryError: The repository cannot be written to, or somebody is exporting into it.
        PlanError: The configuration is not as the export wrote it.
    """
    config = TrunkConfig.read(repository, profile)
    done = []
    with exclusive(repository):
        if (config.limits, config.instances) == (plan.limits, plan.instances):
            done.append(f"nothing to write: {config.path} has these settings")
        else:
            config.write(plan.limits, plan.instances)
            done.append(f"written to {config.path}; it takes effect when the model is loaded again")
        if plan.limits.tokens is not None:
            try:
                done.append(f"the batching library is at {install_library(repository)}")
            except CompilerError as error:
                done.append(f"the batching library could not be built: {error}")
    environment = [item for item in plan.settings if item.where == "environment"]
    if environment:
        values = " ".join(f"{item.name}={item.value}" for item in environment)
        done.append(f"to be set where bgem3 serve, or the containers, start: {values}")
    return done
