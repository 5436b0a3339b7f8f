create table entry (id bigint primary key);
