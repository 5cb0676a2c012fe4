/* Loaded before a User-Mode Linux kernel (LD_PRELOAD): its randomness is the same in every run, so that the same
 * scenario gives the same sequence numbers and ports. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	static uint64_t state = 0x77697265;
	unsigned char *bytes = buffer;
	(void)flags;
	for (size_t i = 0; i < length; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(state >> 56);
	}
	return (ssize_t)length;
}
