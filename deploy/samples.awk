# Samples as JSON, each behind its host as the key: three a second for ever, or `-v seconds=N`.
BEGIN {
    for (second = 0; seconds == 0 || second < seconds; second++) {
        # The second call tells what the first one took as the seed: the time.
        srand()
        time = srand()
        for (host = 1; host <= 3; host++) {
            value = 40 + 10 * sin(time / 600 + host) + 2 * rand()
            # Somebody should look at this.
            if (rand() < 0.002) value += 55
            printf "web-%d|{\"metric\":\"cpu_user\",\"time\":%d,\"value\":%.2f,\"labels\":{\"host\":\"web-%d\"}}\n", host, time, value, host
        }
        fflush()
        if (system("sleep 1") != 0) exit 1
    }
}
