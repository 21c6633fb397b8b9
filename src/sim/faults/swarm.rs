//! A seed's own mixture of faults (swarm testing): each seed draws which kinds may happen at all, then when.
