"""What Alembic runs: the steps that are missing, on the connection it is given, in its transaction."""

from alembic import context

from services.gateway.adapters.schema import REVISIONS, Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=REVISIONS,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
