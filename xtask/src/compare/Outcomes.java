import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClasspathRoots;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.UniqueId;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/** Runs the tests of a folder of classes, and writes how each ended, one JSON value a line, to the file that OUTCOMES names. */
final class Outcomes implements TestExecutionListener {
  private final PrintStream file;

  private Outcomes(PrintStream file) {
    this.file = file;
  }

  public static void main(String[] arguments) throws Exception {
    LauncherDiscoveryRequest all = LauncherDiscoveryRequestBuilder.request().selectors(selectClasspathRoots(Set.of(Path.of(arguments[0])))).build();
    try (PrintStream file = new PrintStream(System.getenv("OUTCOMES"), StandardCharsets.UTF_8)) {
      LauncherFactory.create().execute(all, new Outcomes(file));
    }
    System.exit(0); // threads that a test left behind would keep it
  }

  @Override
  public void executionFinished(TestIdentifier identifier, TestExecutionResult result) {
    boolean failed = result.getStatus() == TestExecutionResult.Status.FAILED;
    // What was skipped in the middle has no outcome. What holds tests has one if something around them failed.
    if (failed || identifier.isTest() && result.getStatus() == TestExecutionResult.Status.SUCCESSFUL) {
      // What it raised, not where or with which words: those hold addresses, ports and process ids.
      String raised = result.getThrowable().map(it -> it.getClass().getSimpleName()).orElse("");
      file.println("[" + quoted(name(identifier)) + ", " + quoted(failed ? "failed: " + raised : "passed") + "]");
      file.flush();
    }
    result.getThrowable().ifPresent(it -> {
      System.err.println("==== " + name(identifier) + ": " + result.getStatus());
      it.printStackTrace();
    });
  }

  /** The same in each run: class, method with the types of its parameters, number of the invocation. */
  private static String name(TestIdentifier identifier) {
    return identifier.getUniqueIdObject().getSegments().stream().skip(1).map(UniqueId.Segment::getValue).collect(Collectors.joining("/"));
  }

  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char it : text.toCharArray()) {
      quoted.append(it < ' ' || it == '"' || it == '\\' ? String.format("\\u%04x", (int) it) : String.valueOf(it));
    }
    return quoted.append('"').toString();
  }
}
