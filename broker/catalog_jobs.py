"""Making a job and taking it up again: the statements behind ``Catalog.create_job``."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from broker import catalog_rows as rows
from broker.catalog_cancel import taken_up
from broker.catalog_views import intake_of
from broker.errors import HardposeError
from broker.intake import Intake
from broker.priority import Priority
from broker.recipe import Recipe
from broker.tables import JobRow, RecipeRow


class JobConflict(HardposeError):
    """A job of that name exists under another recipe or other intake rules."""

    code = "job_conflict"


def create(
    connection: Connection,
    job_id: str,
    recipe: Recipe,
    links: Sequence[str],
    intake: Intake,
    priority: Priority | None,
) -> None:
    """See ``Catalog.create_job``."""
    _put_recipe(connection, recipe)
    job = {"id": job_id, "recipe_id": recipe.id, "intake": intake.model_dump(mode="json")}
    rows.add(connection, JobRow, **job, created_at=rows.now())
    rows.lock_job(connection, job_id)
    _check_same(connection, job_id, recipe, intake)
    if priority is not None:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(priority=priority.value))
    taken_up(connection, [job_id])
    rows.requeue_links(connection, job_id)
    rows.append_links(connection, job_id, links)


def _put_recipe(connection: Connection, recipe: Recipe) -> None:
    """Books the recipe, once; where its device is reached is no part of what it is, and may have changed."""
    rows.add(connection, RecipeRow, id=recipe.id, json=recipe.model_dump(mode="json"))
    where = RecipeRow.id == recipe.id
    known = Recipe.model_validate(connection.execute(select(RecipeRow.json).where(where)).scalar_one())
    if known.device_model.route != (route := recipe.device_model.route):
        device = known.device_model.model_copy(update={"route": route})
        moved = known.model_copy(update={"device_model": device}).model_dump(mode="json")
        connection.execute(update(RecipeRow).where(where).values(json=moved))


def _check_same(connection: Connection, job_id: str, recipe: Recipe, intake: Intake) -> None:
    known = connection.execute(select(JobRow.recipe_id, JobRow.intake).where(JobRow.id == job_id)).one()
    if known.recipe_id != recipe.id:
        raise JobConflict(
            f"The job {job_id} exists under the recipe {known.recipe_id}, not {recipe.id}.",
            "Start a new job for the new recipe; results that both share are used again.",
        )
    rules = intake_of(known.intake)
    if rules != intake:
        changed = [name for name in Intake.model_fields if getattr(rules, name) != getattr(intake, name)]
        raise JobConflict(
            f"The job {job_id} exists under other intake rules: {', '.join(changed)} differ.",
            "Start a new job for the new rules; videos and results that both share are used again.",
        )
