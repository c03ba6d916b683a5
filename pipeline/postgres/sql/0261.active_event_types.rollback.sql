-- transactional: false
drop index concurrently if exists event_types_active;
