/* A directory of one test's own. */
#ifndef SUPPORT_FOLDER_H
#define SUPPORT_FOLDER_H

/* folder_make makes one; folder_remove removes it with all that is in it. */
char *folder_make(void);
void folder_remove(char *path);

/* PATH/NAME, good until 16 more were asked for. */
const char *folder_file(const char *path, const char *name);

#endif
