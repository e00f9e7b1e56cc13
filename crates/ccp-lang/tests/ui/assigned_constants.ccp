(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= 5 gain) (:= true on) (:= volatile 1) (:= (+ 1 2) 3) (report))
