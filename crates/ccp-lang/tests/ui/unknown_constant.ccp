(def (Report (volatile acked 0) (flag false)))
(when tru
    (:= Report.acked Ack.bytes_acked)
    (:= Report.flag FALSE)
    (report))
