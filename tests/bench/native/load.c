/* Load for WebSocket servers on 127.0.0.1, from one thread on epoll.
 *
 * load [options] PORT opens connections, prints a line of JSON, then obeys the lines of standard
 * input, each answered by a line of JSON:
 *
 *   run SECONDS        each connection sends a burst, and the next once all of it came back
 *   broadcast SECONDS  the first connection sends a message, and the next once all have one
 *   pace SECONDS MS    each connection sends a message every MS milliseconds; latencies are taken
 *   flood SECONDS MS   the same, while one more connection sends without a pause
 *   close              the closing handshake on all connections; the end
 *
 *   -c CONNECTIONS (1)  -k MESSAGES IN A BURST (1)  -s SIZE (32)  -t text instead of binary
 *   -f FILE of ready-made frames of a client, sent in a circle, instead of -s and -t
 *   -x EXTENSIONS to offer
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "wire.h"

/* Connections that are opened at the same time, and milliseconds after which silence is failure. */
enum { OPENING = 64, PATIENCE = 20000, READ = 1 << 20, WAITING = 32 };

/* Messages that the flooder sends together, their size, that of an echo, and bytes it reads. */
enum { FLOOD = 1000, FLOOD_SIZE = 32, FLOOD_ECHO = 2 + FLOOD_SIZE, FLOOD_READ = 1 << 16 };

/* Times in seconds. */
struct times {
    double *values;
    size_t count, size;
};

/* Bytes that are sent together. */
struct burst {
    const byte *data;
    size_t size;
};

struct connection {
    int fd, open, closed, close_received, blocked;
    /* The frame that is being read: its head, what is missing, and a control frame's payload. */
    byte head[LONGEST_HEAD], control[125];
    size_t head_size, control_size;
    uint64_t missing;
    struct head frame;
    /* The response of the opening handshake, while it is incomplete. */
    char *response;
    size_t response_size;
    /* Messages of the last burst that have not come back. */
    unsigned long awaited;
    /* What is being sent, how many bursts come after it, and which is the next one. */
    struct burst sending;
    size_t owed, next;
    byte pong[LONGEST_HEAD + 125];
    /* A ring of the times at which the messages that are under way were due. */
    double due[WAITING];
    unsigned sent, received;
};

static struct options {
    int port, connections, in_flight, text;
    long size;
    const char *file, *extensions;
} options = {.connections = 1, .in_flight = 1, .size = 32};

enum mode { ECHO, BROADCAST, PACE };

static enum mode mode;
static int poll_fd, opened;
static struct connection *connections, flooder, ticker;
static struct burst *bursts, flood;
static size_t burst_count;
static char negotiated[256];
static double began, deadline;
/* Messages and bytes of the run; bursts, deliveries or messages that are under way. */
static unsigned long messages, bytes, under_way, flooded, drained, skipped;
/* From when messages were due until they came back, and until they were sent. */
static struct times latencies, delays;

/* Times. */

static void note(struct times *times, double value)
{
    if (times->count == times->size) {
        times->size = times->size * 2 + 1024;
        times->values = allocate(times->values, times->size * sizeof value);
    }
    times->values[times->count++] = value;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Return the time in microseconds that so many percent do not exceed. */
static double percentile(struct times *times, int percent)
{
    if (times->count == 0)
        fail("nothing came back");
    qsort(times->values, times->count, sizeof *times->values, by_size);
    return times->values[(times->count - 1) * percent / 100] * 1e6;
}

/* Frames to send. */

static byte *make_frames(int count, int opcode, size_t size, size_t *length)
{
    static const byte key[] = {0x37, 0xfa, 0x21, 0x3d};
    byte *frames = allocate(NULL, count * (LONGEST_HEAD + size)), *to = frames;
    byte *payload = allocate(NULL, size + 1);
    memset(payload, 'x', size);
    while (count--) {
        to += write_head(to, opcode, size, MASK);
        memcpy(to, key, 4);
        apply_mask(to + 4, payload, size, key);
        to += 4 + size;
    }
    free(payload);
    *length = to - frames;
    return frames;
}

/* Cut a file of frames into bursts. */
static void read_bursts(const char *name)
{
    FILE *file = fopen(name, "rb");
    byte *data;
    size_t size, at, start = 0, frames = 0;
    struct head head = {.size = 0};
    if (file == NULL)
        fail("cannot open the file of frames");
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    data = allocate(NULL, size);
    if (fread(data, 1, size, file) != size)
        fail("cannot read the file of frames");
    fclose(file);
    for (at = 0; at < size;) {
        at += parse_head(data + at, size - at, &head) + head.size;
        if (++frames % options.in_flight)
            continue;
        bursts = allocate(bursts, (burst_count + 1) * sizeof *bursts);
        bursts[burst_count++] = (struct burst){data + start, at - start};
        start = at;
    }
}

static void make_bursts(void)
{
    int opcode = options.text ? TEXT : BINARY;
    flood.data = make_frames(FLOOD, BINARY, FLOOD_SIZE, &flood.size);
    if (options.file) {
        read_bursts(options.file);
        return;
    }
    bursts = allocate(NULL, sizeof *bursts);
    bursts->data = make_frames(options.in_flight, opcode, options.size, &bursts->size);
    burst_count = 1;
}

/* Sending. */

static void watch(struct connection *conn, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(poll_fd, how, conn->fd, &event))
        fail("epoll_ctl failed");
}

static void next_burst(struct connection *conn)
{
    conn->owed--;
    conn->sending = conn == &flooder ? flood : bursts[conn->next++ % burst_count];
    if (conn == &flooder)
        flooded += FLOOD;
}

/* Send what is owed; wait for room where there is none. */
static void flush(struct connection *conn)
{
    int blocked = 0;
    while (!blocked && (conn->sending.size || conn->owed)) {
        ssize_t sent;
        if (!conn->sending.size)
            next_burst(conn);
        sent = send(conn->fd, conn->sending.data, conn->sending.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            fail("a connection broke while sending");
        blocked = sent < (ssize_t)conn->sending.size;
        conn->sending.data += sent < 0 ? 0 : sent;
        conn->sending.size -= sent < 0 ? 0 : sent;
    }
    if (blocked != conn->blocked)
        watch(conn, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    conn->blocked = blocked;
}

static void send_burst(struct connection *conn)
{
    conn->owed++;
    flush(conn);
}

static void send_control(struct connection *conn, int opcode, const byte *payload, size_t size)
{
    static const byte key[4];
    size_t length = write_head(conn->pong, opcode, size, MASK);
    memcpy(conn->pong + length, key, 4);
    memcpy(conn->pong + length + 4, payload, size);
    /* In the middle of a message's frame there is no place for another one; a later pong, or
     * none, is an answer too. */
    if (conn->sending.size)
        return;
    conn->sending = (struct burst){conn->pong, length + 4 + size};
    flush(conn);
}

/* Receiving. */

static void start_echo(struct connection *conn)
{
    conn->awaited = options.in_flight;
    under_way++;
    send_burst(conn);
}

static void start_broadcast(void)
{
    under_way = opened;
    send_burst(connections);
}

static void on_message(struct connection *conn)
{
    messages++;
    if (mode == PACE) {
        under_way--;
        note(&latencies, now() - conn->due[conn->received++ % WAITING]);
    } else if (mode == BROADCAST) {
        if (--under_way == 0 && now() < deadline)
            start_broadcast();
    } else if (--conn->awaited == 0) {
        under_way--;
        if (now() < deadline)
            start_echo(conn);
    }
}

static void on_frame(struct connection *conn)
{
    if (conn->frame.opcode == PING)
        send_control(conn, PONG, conn->control, conn->control_size);
    else if (conn->frame.opcode == CLOSE)
        conn->close_received = 1;
    else if (conn->frame.opcode != PONG && conn->frame.fin)
        on_message(conn);
    conn->head_size = conn->control_size = 0;
}

/* What a server echoes must be what it got, as far as that can be told without a copy of it. */
static void check(struct connection *conn)
{
    int data = conn->frame.opcode < CLOSE, opcode = options.text ? TEXT : BINARY;
    if (conn->frame.masked || (!data && conn->frame.size > sizeof conn->control))
        fail("the server sent an invalid frame");
    if (data && !options.file && !options.extensions
        && (conn->frame.size != (uint64_t)options.size || conn->frame.opcode != opcode))
        fail("the server sent another message than the one it got");
}

static void consume(struct connection *conn, const byte *data, size_t size)
{
    while (size) {
        size_t part = 1;
        if (conn->missing == 0) {
            conn->head[conn->head_size++] = *data;
            if (parse_head(conn->head, conn->head_size, &conn->frame)) {
                check(conn);
                conn->missing = conn->frame.size;
                if (conn->missing == 0)
                    on_frame(conn);
            }
        } else {
            part = size < conn->missing ? size : conn->missing;
            if (conn->frame.opcode >= CLOSE) {
                memcpy(conn->control + conn->control_size, data, part);
                conn->control_size += part;
            }
            conn->missing -= part;
            if (conn->missing == 0)
                on_frame(conn);
        }
        data += part;
        size -= part;
    }
}

/* The opening handshake (RFC 6455, section 4.1). */

static void connect_one(struct connection *conn)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;
    address.sin_port = htons(options.port);
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (conn->fd < 0)
        fail("cannot make a socket: raise the limit of open files (ulimit -n)");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(conn->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("cannot connect");
    watch(conn, EPOLL_CTL_ADD, EPOLLOUT);
}

static void send_request(struct connection *conn)
{
    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET / HTTP/1.1\r\n"
                        "Host: 127.0.0.1:%d\r\n"
                        "Upgrade: websocket\r\n"
                        "Connection: Upgrade\r\n"
                        "Sec-WebSocket-Key: " KEY "\r\n"
                        "Sec-WebSocket-Version: 13\r\n"
                        "%s%s%s\r\n",
                        options.port, options.extensions ? "Sec-WebSocket-Extensions: " : "",
                        options.extensions ? options.extensions : "",
                        options.extensions ? "\r\n" : "");
    if (send(conn->fd, request, size, MSG_NOSIGNAL) != size)
        fail("cannot send the request of an opening handshake");
    watch(conn, EPOLL_CTL_MOD, EPOLLIN);
}

static void note_extensions(const char *response)
{
    const char *name = "Sec-WebSocket-Extensions:", *value = strcasestr(response, name);
    if (value) {
        value += strlen(name) + strspn(value + strlen(name), " ");
        snprintf(negotiated, sizeof negotiated, "%.*s", (int)strcspn(value, "\r"), value);
    }
}

static void read_response(struct connection *conn, const byte *data, size_t size)
{
    char *end;
    size_t head;
    conn->response = allocate(conn->response, conn->response_size + size + 1);
    memcpy(conn->response + conn->response_size, data, size);
    conn->response_size += size;
    conn->response[conn->response_size] = 0;
    end = strstr(conn->response, "\r\n\r\n");
    if (end == NULL)
        return;
    if (strncmp(conn->response, "HTTP/1.1 101 ", 13) || !strstr(conn->response, ACCEPT)) {
        conn->response[strcspn(conn->response, "\r")] = 0;
        fprintf(stderr, "an opening handshake was answered by %s\n", conn->response);
        exit(1);
    }
    if (opened == 0)
        note_extensions(conn->response);
    conn->open = 1;
    opened++;
    head = end + 4 - conn->response;
    consume(conn, (byte *)conn->response + head, conn->response_size - head);
    free(conn->response);
    conn->response = NULL;
}

/* The loop. */

static void readable(struct connection *conn)
{
    static byte data[READ];
    ssize_t size = recv(conn->fd, data, conn == &flooder ? FLOOD_READ : READ, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0) {
        if (deadline > 0)
            fail("the server dropped a connection");
        conn->closed = 1;
        close(conn->fd);
        return;
    }
    bytes += size;
    /* What floods is not looked at, so that it delays the others in the server, not in here. */
    if (conn == &flooder && conn->open)
        drained += size;
    else if (conn->open)
        consume(conn, data, size);
    else
        read_response(conn, data, size);
}

/* Wait for events, for some milliseconds, and handle them; return how many there were. */
static int turn(int timeout)
{
    struct epoll_event events[256];
    uint64_t ticks;
    int count = epoll_wait(poll_fd, events, 256, timeout), i;
    for (i = 0; i < count; i++) {
        struct connection *conn = events[i].data.ptr;
        if (conn == &ticker) {
            if (read(ticker.fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
                fail("cannot read the timer");
            continue;
        }
        if (events[i].events & EPOLLOUT) {
            if (conn->open)
                flush(conn);
            else
                send_request(conn);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !conn->closed)
            readable(conn);
    }
    return count;
}

static void patient_turn(void)
{
    if (turn(PATIENCE) == 0)
        fail("the server has not answered for 20 seconds");
}

/* Commands. */

static void start(double seconds)
{
    messages = bytes = under_way = flooded = drained = skipped = 0;
    latencies.count = delays.count = 0;
    began = now();
    deadline = began + seconds;
}

static void report(void)
{
    printf("{\"messages\": %lu, \"bytes\": %lu, \"seconds\": %.6f}\n", messages, bytes,
           now() - began);
}

static void open_all(void)
{
    int started = 0;
    start(1);
    while (opened < options.connections) {
        while (started < options.connections && started - opened < OPENING)
            connect_one(&connections[started++]);
        patient_turn();
    }
    printf("{\"connections\": %d, \"seconds\": %.6f, \"extensions\": \"%s\"}\n", opened,
           now() - began, negotiated);
}

static void run(double seconds)
{
    int i;
    mode = ECHO;
    start(seconds);
    for (i = 0; i < options.connections; i++)
        start_echo(&connections[i]);
    while (under_way)
        patient_turn();
    report();
}

static void broadcast(double seconds)
{
    mode = BROADCAST;
    start(seconds);
    start_broadcast();
    while (under_way)
        patient_turn();
    report();
}

static void open_flooder(void)
{
    int before = opened;
    if (flooder.open)
        return;
    connect_one(&flooder);
    while (!flooder.open)
        patient_turn();
    opened = before;
}

static void send_due(struct connection *conn, double due)
{
    if (conn->sent - conn->received == WAITING) {
        skipped++;
        return;
    }
    conn->due[conn->sent++ % WAITING] = due;
    under_way++;
    note(&delays, now() - due);
    send_burst(conn);
}

/* Wake up whenever a message is due; never, if the interval is 0. */
static void tick(double seconds)
{
    struct timespec interval = {.tv_sec = seconds, .tv_nsec = (seconds - (time_t)seconds) * 1e9};
    struct itimerspec timer = {interval, interval};
    if (timerfd_settime(ticker.fd, 0, &timer, NULL))
        fail("cannot set the timer");
}

static void pace(double seconds, double interval, int with_flood)
{
    double due;
    unsigned long turns = 0;
    if (with_flood)
        open_flooder();
    mode = PACE;
    start(seconds);
    interval /= options.connections;
    tick(interval);
    /* The connections take turns, spread evenly over the interval. Latency counts from when a
     * message was due, so that a server that falls behind cannot slow down its own load. */
    while (now() < deadline) {
        while ((due = began + turns * interval) <= now())
            send_due(&connections[turns++ % options.connections], due);
        if (with_flood && !flooder.sending.size)
            send_burst(&flooder);
        turn(with_flood && !flooder.blocked ? 0 : PATIENCE);
    }
    tick(0);
    while (under_way || drained < flooded * FLOOD_ECHO)
        patient_turn();
    printf("{\"messages\": %lu, \"seconds\": %.6f, \"flooded\": %lu, \"skipped\": %lu, "
           "\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"late\": %.1f}\n",
           messages, now() - began, flooded, skipped, percentile(&latencies, 50),
           percentile(&latencies, 99), percentile(&latencies, 100), percentile(&delays, 99));
}

static void close_connection(struct connection *conn)
{
    static const byte normal_closure[] = {1000 >> 8, 1000 & 255};
    if (conn->open)
        send_control(conn, CLOSE, normal_closure, sizeof normal_closure);
}

static void close_all(void)
{
    int i, remaining = 1, clean = 0;
    /* From now on the server may drop connections. */
    deadline = 0;
    close_connection(&flooder);
    for (i = 0; i < options.connections; i++)
        close_connection(&connections[i]);
    while (remaining && turn(1000))
        for (i = remaining = 0; i < options.connections; i++)
            remaining += !connections[i].closed;
    for (i = 0; i < options.connections; i++)
        clean += connections[i].closed && connections[i].close_received;
    printf("{\"clean\": %d}\n", clean);
}

static void obey(char *line)
{
    double seconds = 1, milliseconds = 100;
    char command[16] = "";
    sscanf(line, "%15s %lf %lf", command, &seconds, &milliseconds);
    if (!strcmp(command, "run"))
        run(seconds);
    else if (!strcmp(command, "broadcast"))
        broadcast(seconds);
    else if (!strcmp(command, "pace") || !strcmp(command, "flood"))
        pace(seconds, milliseconds / 1e3, *command == 'f');
    else if (!strcmp(command, "close")) {
        close_all();
        exit(0);
    } else
        fail("commands are: run, broadcast, pace, flood, close");
}

int main(int argc, char **argv)
{
    char line[256];
    int option;
    while ((option = getopt(argc, argv, "c:k:s:f:x:t")) != -1)
        switch (option) {
        case 'c': options.connections = atoi(optarg); break;
        case 'k': options.in_flight = atoi(optarg); break;
        case 's': options.size = atol(optarg); break;
        case 'f': options.file = optarg; break;
        case 'x': options.extensions = optarg; break;
        case 't': options.text = 1; break;
        default: return 2;
        }
    if (optind != argc - 1 || options.connections < 1 || options.in_flight < 1)
        fail("usage: load [-c connections] [-k burst] [-s size] [-t] [-f file] [-x extensions] PORT");
    options.port = atoi(argv[optind]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    poll_fd = epoll_create1(0);
    ticker.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(&ticker, EPOLL_CTL_ADD, EPOLLIN);
    connections = calloc(options.connections, sizeof *connections);
    make_bursts();
    open_all();
    while (fgets(line, sizeof line, stdin))
        obey(line);
    return 0;
}
