-- What fence.connections needs beside heartbeat.sql. Run once, on the writer, as a user that may grant these roles (on
-- RDS: a member of rds_superuser). Safe to repeat. The other Regions get it by replication.
--
-- pg_signal_backend ends sessions of every role but superusers; pg_read_all_stats tells clients from background
-- processes. Whoever has the heartbeat's password can then end everybody's sessions: grant it only where a runbook
-- uses fence.connections.

ALTER ROLE failoverd_heartbeat INHERIT;
GRANT pg_signal_backend, pg_read_all_stats TO failoverd_heartbeat;
