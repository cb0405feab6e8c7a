#include "dist/name.h"

#include <arpa/inet.h>
#include <netdb.h>

static bool only(const char *text, const char *allowed)
{
    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static bool split(struct name *n, const char *text, bool is_long)
{
    const char *at = strchr(text, '@');
    const size_t alive = at == NULL ? strlen(text) : (size_t)(at - text);
    const char *host = at != NULL ? at + 1 : is_long ? "127.0.0.1" : "localhost";
    if (alive + 1 + strlen(host) > 255)
        return false;
    memset(n, 0, sizeof *n);
    memcpy(n->alive, text, alive);
    memcpy(n->host, host, strlen(host));
    memcpy(n->full, n->alive, alive);
    n->full[alive] = '@';
    memcpy(n->full + alive + 1, n->host, strlen(n->host));
    return true;
}

bool name_parse(struct name *n, const char *text, bool is_long, char why[NAME_WHY])
{
    const char *wrong = NULL;
    if (!split(n, text, is_long))
        wrong = "it is longer than 255 characters";
    else if (!only(n->alive, LETTERS))
        wrong = "before the @ stand letters, digits, - and _ only";
    else if (!only(n->host, LETTERS "."))
        wrong = "behind the @ stands a host: letters, digits, -, _ and dots only";
    else if (is_long && strchr(n->host, '.') == NULL)
        wrong = "the host of a long name has a dot; use --sname";
    else if (!is_long && strchr(n->host, '.') != NULL)
        wrong = "the host of a short name has no dot; use --name";
    if (wrong != NULL)
        snprintf(why, NAME_WHY, "%.80s: %s", text, wrong);
    return wrong == NULL;
}

static bool is_loopback(struct in_addr address)
{
    return ntohl(address.s_addr) >> 24 == 127;
}

bool name_address(const struct name *n, struct in_addr *address, char why[NAME_WHY])
{
    if (strcmp(n->host, "localhost") == 0)
        return inet_pton(AF_INET, "127.0.0.1", address) == 1;
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int bad = getaddrinfo(n->host, NULL, &hints, &found);
    if (bad != 0) {
        snprintf(why, NAME_WHY, "%s: the host has no address: %s", n->full, gai_strerror(bad));
        return false;
    }
    const struct in_addr there =
        ((const struct sockaddr_in *)(const void *)found->ai_addr)->sin_addr;
    freeaddrinfo(found);
    if (!is_loopback(there)) {
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &there, text, sizeof text);
        snprintf(why, NAME_WHY,
                 "%s: the host is %s, which other hosts can reach; say with --listen %s that this "
                 "is wanted",
                 n->full, text, text);
        return false;
    }
    *address = there;
    return true;
}
