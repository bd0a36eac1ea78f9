return begin_run()
