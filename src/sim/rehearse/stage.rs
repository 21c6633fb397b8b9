//! The world that an operator's configuration describes: its databases, records, health checks, alarms, topics.
