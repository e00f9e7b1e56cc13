(when true (report))
(def (Report (acked 0)))
