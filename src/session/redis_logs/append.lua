-- ARGV: session, bounds, at_ms, JSON, subject.
return append_to(ARGV[1], ARGV[3], ARGV[4], ARGV[5], bounds_of(ARGV[2]))
