alter table dead_letters drop column traceparent, drop column tracestate;
