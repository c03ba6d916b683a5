-- depends: 0230.attempts_to_tell

-- The W3C trace context of the record that died, so that a dead letter that is sent again continues its trace.
-- Null: the record had none, or tracing was off.
alter table dead_letters add column traceparent text, add column tracestate text;
