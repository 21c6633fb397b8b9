-- The heartbeat's table and its user. Run once, on the writer, in the database that `heartbeat.database` names, as a
-- user that may create schemas and roles. Safe to repeat. The other Regions get all of it by replication.
--
-- Then give the user a password, which psql asks for and does not show:
--     \password failoverd_heartbeat

CREATE SCHEMA IF NOT EXISTS failoverd;

CREATE TABLE IF NOT EXISTS failoverd.heartbeat (
    -- One life of one daemon, and its own count.
    beater     text        NOT NULL CHECK (beater ~ '^[a-z0-9-]{1,64}$'),
    number     bigint      NOT NULL CHECK (number > 0),
    -- By the daemon's clock.
    written_at timestamptz NOT NULL,
    PRIMARY KEY (beater, number)
) WITH (
    -- A row in, a row out, each second: cleaned up by number of rows, not by share of the table.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000
);

CREATE INDEX IF NOT EXISTS heartbeat_written_at ON failoverd.heartbeat (written_at);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'failoverd_heartbeat') THEN
        -- Two connections a daemon; room for four daemons.
        CREATE ROLE failoverd_heartbeat LOGIN NOINHERIT CONNECTION LIMIT 8;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA failoverd TO failoverd_heartbeat;
-- No UPDATE, no TRUNCATE, nothing outside this table.
GRANT SELECT, INSERT, DELETE ON failoverd.heartbeat TO failoverd_heartbeat;
