alter table entry add column name text;
