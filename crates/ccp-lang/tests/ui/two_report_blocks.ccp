(def (Report (acked 0)) (Report (loss 0)))
(when true (report))
