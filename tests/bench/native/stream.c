/* Sends text messages of 64 bytes as fast as TCP takes them: what clients are measured with.
 *
 * stream SECONDS: standard input is a WebSocket connection, its opening handshake done. At the
 * end it sends a close frame, waits for the answer, and prints how many messages it sent, how long
 * they took until the client had read them all, and what that cost here.
 */

#include <sys/socket.h>

#include "wire.h"

enum { SIZE = 64, FRAME = 2 + SIZE, FRAMES = 1000, SOCKET = 0 };

static void send_all(const byte *data, size_t size)
{
    while (size) {
        ssize_t sent = send(SOCKET, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            fail("the client has gone");
        data += sent;
        size -= sent;
    }
}

int main(int argc, char **argv)
{
    static byte frames[FRAMES * FRAME], answer[4096];
    const byte close_frame[] = {FIN | CLOSE, 2, 1000 >> 8, 1000 & 255};
    double seconds = argc > 1 ? atof(argv[1]) : 1, began = now();
    unsigned long messages = 0;
    int i;
    for (i = 0; i < FRAMES; i++) {
        size_t length = write_head(frames + i * FRAME, TEXT, SIZE, 0);
        memset(frames + i * FRAME + length, 'a' + i % 26, SIZE);
    }
    while (now() - began < seconds) {
        send_all(frames, sizeof frames);
        messages += FRAMES;
    }
    send_all(close_frame, sizeof close_frame);
    if (recv(SOCKET, answer, sizeof answer, 0) <= 0)
        fail("the client did not answer the close frame");
    printf("{\"messages\": %lu, \"seconds\": %.6f, \"cpu\": %.6f}\n", messages, now() - began,
           (double)clock() / CLOCKS_PER_SEC);
    return 0;
}
