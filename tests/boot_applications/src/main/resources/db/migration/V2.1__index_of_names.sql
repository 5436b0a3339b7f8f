create index entry_name on entry (name);
