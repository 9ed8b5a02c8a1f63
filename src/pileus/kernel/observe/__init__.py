"""What happened, for people: logs with request ids (`logs`), and the hops of every operation (`hops`), which are
collected by a `Recorder`, kept in the trace database (`store`) and put together again as an `operation`."""
