//! The one integration binary: its modules and nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "tests poll with a deadline in real time, read where the build put things, and stop at the first surprise"
)]

mod access;
mod aged;
mod architecture;
mod aws_call;
mod cli_client;
mod console;
mod databases;
mod deploy;
mod drill_budget;
mod drill_fault;
mod drills;
mod emulator_failover;
mod engine_alone;
mod engine_clock;
mod engine_crash;
mod engine_deferred;
mod engine_detach;
mod engine_escalation;
mod engine_failover;
mod engine_heartbeat;
mod engine_opposite;
mod engine_people;
mod engine_planned;
mod engine_trouble;
mod engine_undo;
mod fences;
mod fuzz;
mod gates;
mod gradual_failback;
mod heartbeat;
mod histories;
mod http_api;
mod independent_emulator;
mod kill;
mod lease_model;
mod notifications;
mod offline;
mod outputs;
mod patch;
mod pause;
mod pinned;
mod plan_ahead;
mod power_loss;
mod reference;
mod reference_systems;
mod rehearsal;
mod replica_answers;
mod replica_processes;
mod replicas;
mod restore;
mod sabotage;
mod salvage;
mod standby_object;
mod static_stability;
mod store_conformance;
mod store_cost;
mod store_faults;
mod store_opening;
mod support;
mod traffic_mechanisms;
mod vantages;
mod wire_face;
