(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (if on (else (report))) (!if on (else (report))))
