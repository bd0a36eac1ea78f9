-- A worker goes. ARGV: worker.
forget(ARGV[1])
settle()
return 1
