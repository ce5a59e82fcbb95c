create table logs (
    id bigint generated always as identity primary key,
    title text not null,
    body text not null,
    pasted_at timestamptz not null default now(),
    digested_at timestamptz,
    lines integer
);

create table patterns (
    log bigint not null references logs on delete cascade,
    pattern text not null,
    example text not null,
    lines integer not null,
    primary key (log, pattern)
);
