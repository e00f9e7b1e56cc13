(def (Report (volatile acked 0)) (zero 0))
(when true
    (:= Report.acked (- 5 6))
    (:= Report.acked (+ +infinity 1 zero))
    (:= Report.acked (* 2 18_000_000_000_000s))
    (:= Report.acked (/ zero 0))
    (report))
