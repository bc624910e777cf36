/* The floor: an echo server on epoll that does what the protocol demands, and nothing else.
 *
 * What it costs is the kernel's share, which no server in any language can go below. It joins
 * the echoes of what one read brought. It prints its port.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

struct buffer {
    byte *data;
    /* Where what it holds begins and ends, and how large it is. */
    size_t start, end, size;
};

struct connection {
    int fd, open, closing;
    struct buffer in, out;
};

static int poll_fd;

/* Make room behind what a buffer holds. */
static void reserve(struct buffer *buffer, size_t more)
{
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
    if (buffer->size - buffer->end >= more)
        return;
    buffer->end -= buffer->start;
    if (buffer->start)
        memmove(buffer->data, buffer->data + buffer->start, buffer->end);
    buffer->start = 0;
    if (buffer->size - buffer->end >= more)
        return;
    buffer->size = (buffer->end + more) * 2;
    buffer->data = allocate(buffer->data, buffer->size);
}

static void watch(struct connection *conn, int how, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    epoll_ctl(poll_fd, how, conn->fd, &event);
}

static void drop(struct connection *conn)
{
    close(conn->fd);
    free(conn->in.data);
    free(conn->out.data);
    free(conn);
}

/* Append the answer to a frame. */
static void answer(struct connection *conn, const struct head *head, const byte *payload)
{
    struct buffer *out = &conn->out;
    int opcode = head->opcode == PING ? PONG : head->opcode;
    if (opcode == PONG && head->opcode == PONG)
        return;
    reserve(out, LONGEST_HEAD + head->size);
    out->end += write_head(out->data + out->end, opcode, head->size, 0);
    apply_mask(out->data + out->end, payload, head->size, head->key);
    out->end += head->size;
    conn->closing = opcode == CLOSE;
}

/* Answer the opening handshake, if all of the request is there. */
static void open_connection(struct connection *conn)
{
    struct buffer *in = &conn->in;
    byte *end = memmem(in->data + in->start, in->end - in->start, "\r\n\r\n", 4);
    size_t size = strlen(SWITCHING_PROTOCOLS);
    if (end == NULL)
        return;
    reserve(&conn->out, size);
    memcpy(conn->out.data, SWITCHING_PROTOCOLS, size);
    conn->out.end = size;
    conn->open = 1;
    in->start = end + 4 - in->data;
}

static void answer_all(struct connection *conn)
{
    struct buffer *in = &conn->in;
    size_t length;
    struct head head;
    if (!conn->open)
        open_connection(conn);
    while (conn->open && !conn->closing) {
        length = parse_head(in->data + in->start, in->end - in->start, &head);
        if (length == 0)
            break;
        if (!head.masked)
            fail("a client sent an unmasked frame");
        if (in->end - in->start - length < head.size) {
            reserve(in, length + head.size);
            break;
        }
        answer(conn, &head, in->data + in->start + length);
        in->start += length + head.size;
    }
}

/* Send what there is; return whether the connection lives on. */
static int flush(struct connection *conn, int was_blocked)
{
    struct buffer *out = &conn->out;
    ssize_t sent = send(conn->fd, out->data + out->start, out->end - out->start, MSG_NOSIGNAL);
    int blocked;
    if (sent < 0 && errno != EAGAIN)
        return 0;
    out->start += sent < 0 ? 0 : sent;
    blocked = out->start < out->end;
    if (blocked != was_blocked)
        watch(conn, EPOLL_CTL_MOD, blocked ? EPOLLOUT : EPOLLIN);
    return blocked || !conn->closing;
}

static int receive(struct connection *conn)
{
    ssize_t size;
    reserve(&conn->in, 32768);
    size = recv(conn->fd, conn->in.data + conn->in.end, conn->in.size - conn->in.end, 0);
    if (size <= 0)
        return size < 0 && errno == EAGAIN;
    conn->in.end += size;
    answer_all(conn);
    return conn->out.start < conn->out.end ? flush(conn, 0) : 1;
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *conn = calloc(1, sizeof *conn);
        if (conn == NULL)
            fail("out of memory");
        conn->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(conn, EPOLL_CTL_ADD, EPOLLIN);
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    struct epoll_event events[256];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), count;
    struct connection acceptor = {.fd = listener};
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024))
        fail("cannot listen on 127.0.0.1");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poll_fd = epoll_create1(0);
    watch(&acceptor, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        count = epoll_wait(poll_fd, events, 256, -1);
        while (count-- > 0) {
            struct connection *conn = events[count].data.ptr;
            if (conn == &acceptor)
                accept_all(listener);
            else if (!(events[count].events & EPOLLOUT ? flush(conn, 1) : receive(conn)))
                drop(conn);
        }
    }
}
