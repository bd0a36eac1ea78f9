-- ARGV: bounds, at_ms, JSON, subject.
return append_to_run(ARGV[2], ARGV[3], ARGV[4], bounds_of(ARGV[1]))
