-- depends: 0002.archive

-- A position that does not follow the one before it is refused, whichever process writes it: what lies between the two was
-- never archived, and would never be read again. Each write says from where it continues, how many records it holds, and
-- how many offsets on the way hold no record (ends of transactions, records that retention or compaction took).

alter table archive_offsets
    add column from_offset bigint not null default -1,
    add column records bigint not null default 0,
    add column vacant bigint not null default 0;
update archive_offsets set from_offset = next_offset;
alter table archive_offsets
    add constraint archive_offsets_add_up check (
        records >= 0 and vacant >= 0
        -- -1: nothing was archived yet; the log begins at 0
        and next_offset = case records + vacant when 0 then from_offset else greatest(from_offset, 0) + records + vacant end
    );

create function check_archive_position() returns trigger language plpgsql as $$
begin
    if new.topic <> old.topic or new.partition <> old.partition
        or (new.next_offset <> old.next_offset and new.from_offset <> old.next_offset) then
        raise exception 'the position of % [%] would go from % to %, which continues from %: what lies between would be lost',
            old.topic, old.partition, old.next_offset, new.next_offset, new.from_offset;
    end if;
    return new;
end
$$;
create trigger archive_offsets_follow before update on archive_offsets
for each row execute function check_archive_position();
