(def (Report (acked 0)) (gain 2))
(when (gain + 1) (:= Cwmd 2rtt) (:= acked 1.5ms) (else) (rtt) (if (else (report)))
    (cycle gain (0 1s) (1/0 1rtt) (x)) (- 5 6) {} 1__0 20000000000000s)
